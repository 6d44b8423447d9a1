import idna
import tabulate

print(tabulate.tabulate([["idna", idna.__version__], ["tabulate", tabulate.__version__]], tablefmt="github"))
