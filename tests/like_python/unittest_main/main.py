import sys, unittest

class Case(unittest.TestCase):
    def test_one(self):
        self.assertEqual(1, 2)

result = unittest.TextTestRunner(stream=open("report.txt", "w")).run(unittest.defaultTestLoader.loadTestsFromTestCase(Case))
print(result.testsRun, len(result.failures))
import os
os.remove("report.txt")
sys.exit(not result.wasSuccessful())
