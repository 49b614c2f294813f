"""The command line of a reader's own server: what `--own COMMAND` of benches/run and equality.py means.

COMMAND may contain

    {name}         the server's name
    {port}         the port at which it must listen, on 127.0.0.1, for clients and neighbours
    {neighbours}   the HOST:PORT of each neighbour, with commas between them; empty if there is none
    {places}       the URL of a substitute for Google: the server asks it for {places}/maps/api/place/nearbysearch/json?...

Without any of these the server must take the arguments of the originals (benches/peers/README.md): NAME, --config FILE
and --log FILE. COMMAND is split like a line of a shell, but no shell runs it. It is started in the current folder.
"""

from __future__ import annotations

import os
import re
import shlex

PLACEHOLDER = re.compile(r"\{(name|port|neighbours|places)\}")


def has(command: str, *names: str) -> bool:
    """Whether the command contains one of these placeholders; without names, any.

    >>> has("server {port}"), has("server {port}", "name"), has("server {ports}")
    (True, False, False)
    """
    return any(not names or name in names for name in PLACEHOLDER.findall(command))


def words(command: str, **values: object) -> list[str]:
    """The command as a list of words, with its placeholders replaced by `values`.

    >>> words("python3 'my server.py' {name} -p{port} [{neighbours}]", name="Alford", port=7, neighbours="")[3:]
    ['python3', 'my server.py', 'Alford', '-p7', '[]']
    """
    filled = [PLACEHOLDER.sub(lambda match: str(values[match[1]]), word) for word in shlex.split(command)]
    # The scripts start servers in folders of their own.
    return ["env", "-C", os.getcwd(), *filled]
