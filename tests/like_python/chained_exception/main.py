try:
    {}["missing"]
except KeyError as error:
    raise RuntimeError("could not look it up") from error
