"""A service for the SDK's tests: see python_test.go."""

import sys

from micromesh import MeshError, Service

svc = Service("pets-py")
pets = {}


@svc.route("GET", "/pets-py/hello")
def hello(request):
    return {"hello": request.caller.slug if request.caller else "world"}


@svc.route("PUT", "/pets-py/pet/{id}", role="pets-py:pet:manager")
def save(request):
    pet = {**request.json(), "id": request.params["id"]}
    if "name" not in pet:
        raise MeshError(400, "VALIDATION_ERROR", "name is missing", [{"field": "name", "rule": "required", "message": "is missing"}])
    pets[pet["id"]] = pet
    return 201, pet


@svc.route("GET", "/pets-py/mine", signed_in=True)
def mine(request):
    return {"owner": request.caller.user_id, "may": svc.has_permission(request.caller, "pets-py:pet:see")}


@svc.route("GET", "/pets-py/broken")
def broken(request):
    raise ValueError("a secret")


@svc.route("POST", "/pets-py/relay")
def relay(request):
    """Calls another service, as this one."""
    return svc.call("POST", "/user-svc/self", request.json() if request.body else None)


if __name__ == "__main__":
    try:
        svc.run()
    except (MeshError, ValueError) as e:
        sys.exit(str(e))
