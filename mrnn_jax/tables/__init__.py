"""The paper's tables: all its systems, trained, measured, side by side.

Systems are run by the tasks of the program, one after another, in workdirs of
their own; everything in the tables comes from files that these leave.
"""
