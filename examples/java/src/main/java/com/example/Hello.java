package com.example;

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Says hello on a port; with --check it says so once and ends. */
public final class Hello {
    private static final String HELLO = "Hello from Java\n";

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("--check")) {
            System.out.print(HELLO);
            return;
        }
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> {
            byte[] body = HELLO.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
