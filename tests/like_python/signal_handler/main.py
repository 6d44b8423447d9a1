import os, signal
signal.signal(signal.SIGUSR1, lambda n, f: print("caught", signal.Signals(n).name))
os.kill(os.getpid(), signal.SIGUSR1)
signal.signal(signal.SIGALRM, lambda n, f: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
