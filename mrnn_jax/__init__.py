"""m-RNN (Mao et al. 2014): write captions, rank sentences and images."""
