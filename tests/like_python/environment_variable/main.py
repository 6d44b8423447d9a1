import os
print(os.environ["GREETING"], os.environ.get("NOT_GIVEN"))
