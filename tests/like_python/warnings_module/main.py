import warnings
warnings.warn("be careful")
warnings.warn("old", DeprecationWarning)
print("done")
