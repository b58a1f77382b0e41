//! Says hello on a port; with --check it says so once and ends.

use tiny_http::{Response, Server};

const HELLO: &str = "Hello from Rust\n";

fn main() {
    if std::env::args().any(|argument| argument == "--check") {
        print!("{HELLO}");
        return;
    }
    let server = Server::http("0.0.0.0:8080").expect("the port is free");
    for request in server.incoming_requests() {
        let _ = request.respond(Response::from_string(HELLO));
    }
}
