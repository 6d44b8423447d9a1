import idna
import six

print(idna.__version__, six.__version__, idna.decode("xn--strae-oqa.example"))
