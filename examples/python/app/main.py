"""Says hello; `python -m app.main` says it once and ends."""

from bottle import Bottle

app = Bottle()


@app.get("/")
def hello():
    return "Hello from Python\n"


if __name__ == "__main__":
    print(hello(), end="")
