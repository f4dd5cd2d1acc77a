"""Resources of which some are guarded by a gateway in front: the answer names which kind was read, and the target as it came."""
import sys

from flask import Flask, request
from werkzeug.serving import WSGIRequestHandler, make_server

app = Flask(__name__)


def answer(kind):
    return f"{kind} {request.environ['RAW_URI']}"


@app.route("/admin/users")
@app.route("/users/<user>/secret")
@app.route("/files/private/<path:name>")
@app.route("/widgets/<widget>")
def guarded(**_):
    return answer("guarded")


@app.route("/widgets/open")
@app.route("/")
@app.route("/<path:rest>")
def open_to_all(**_):
    return answer("open")


WSGIRequestHandler.protocol_version = "HTTP/1.1"
WSGIRequestHandler.log_request = lambda *_: None
make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True).serve_forever()
