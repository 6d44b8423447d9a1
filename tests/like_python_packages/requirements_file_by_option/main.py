import sys

import tabulate

print(tabulate.__version__)
sys.exit(7)
