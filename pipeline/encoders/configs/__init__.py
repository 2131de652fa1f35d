"""The recipe's settings of encoders and their parts; read without torch."""
