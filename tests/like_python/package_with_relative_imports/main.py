from shop.cart import total
from shop import tax
print(total([1, 2, 3]), tax.RATE)
