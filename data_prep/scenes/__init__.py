"""Pictures that the program draws itself, with sentences about them."""
