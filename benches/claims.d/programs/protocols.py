"""The original on Twisted, with an HTTP port beside its own: `protocols.py SERVER PORT HTTP_PORT`.

Both serve the same dictionary. POST /herd.php has an IAMAT line as its body; GET /herd.php?client=ID asks.
"""

import importlib.util
import sys

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("server", sys.argv[1])
server = importlib.util.module_from_spec(spec)
sys.modules["server"] = server
spec.loader.exec_module(server)

from twisted.internet import reactor  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402
from twisted.web.server import Site  # noqa: E402

chatserver = server.ChatserverFactory(b"Alford", server.Places("http://127.0.0.1:9", "none"))


# The second protocol begins here.
class Herd(Resource):
    isLeaf = True

    def render_POST(self, request):
        connection = chatserver.buildProtocol(None)
        replies = []
        connection.reply = replies.append
        connection.lineReceived(request.content.read())
        return replies[0] + b"\n"

    def render_GET(self, request):
        sighting = chatserver.clients.get(request.args[b"client"][0])
        if sighting is None:
            request.setResponseCode(404)
            return b"?\n"
        return sighting.line + b"\n"


reactor.listenTCP(int(sys.argv[3]), Site(Herd()), interface="127.0.0.1")
# It ends here.
server.logging.disable()
reactor.listenTCP(int(sys.argv[2]), chatserver, backlog=1024, interface="127.0.0.1")
reactor.run()
