NAME = "chosen one"
