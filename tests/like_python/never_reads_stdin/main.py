print("did not look")
