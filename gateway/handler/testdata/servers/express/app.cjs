// Resources of which some are guarded by a gateway in front: the answer names which kind was read, and the target as it came.
const express = require("express");

const app = express();
const answer = (kind) => (req, res) => res.type("text/plain").send(`${kind} ${req.originalUrl}`);
app.get("/widgets/open", answer("open"));
app.get(["/admin/users", "/users/:user/secret", "/files/private/*", "/widgets/:widget"], answer("guarded"));
app.use(answer("open"));
app.listen(Number(process.argv[2]), "127.0.0.1");
