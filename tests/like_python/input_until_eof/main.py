try:
    while True:
        print("got", input())
except EOFError:
    print("end")
