"""Child process for tests of the channel: it does what each message asks for."""

import os
import subprocess
import sys
import time

print("printed while it is imported")


def main(channel):
    while (message := channel.receive()) is not None:
        match message:
            case ("echo", *content):
                channel.send(*content)
            case ("print", text):
                print(text, flush=True)
                os.system(f"echo {text} by a grandchild")
            case ("ids",):
                grandchild = subprocess.Popen(
                    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
                )
                channel.send(os.getpid(), grandchild.pid)
            case ("hang",):
                time.sleep(600)
            case ("exit", code):
                os._exit(code)
            case ("raise", text):
                raise RuntimeError(text)
    channel.send("the input has ended")
