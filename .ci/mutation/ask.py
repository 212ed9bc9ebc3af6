"""The test command of a mutant: asks the warm process, and exits as pytest did there."""

import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    request = '{"folder": "%s", "tests": %s}\n' % (os.getcwd(), sys.argv[2])  # noqa: UP031
    connection.sendall(request.encode())
    answer = connection.recv(1)
sys.exit(answer[0] if answer else 255)
