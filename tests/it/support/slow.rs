//! A slow network: a loopback tunnel that lets so many bytes a second through, each way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::proxy::listen;

/// How many pieces a second go through.
const PIECES: usize = 20;

/// Starts a tunnel to `upstream` with `rate` bytes a second; returns its address.
pub(crate) fn start(upstream: &str, rate: usize) -> String {
    let upstream = upstream.to_owned();
    listen(move |client| {
        let server = TcpStream::connect(&upstream).ok()?;
        let (from, to) = (client.try_clone().ok()?, server.try_clone().ok()?);
        let up = thread::spawn(move || carry(from, to, rate));
        carry(server, client, rate);
        up.join().ok()?
    })
}

fn carry(mut from: TcpStream, mut to: TcpStream, rate: usize) -> Option<()> {
    let mut piece = vec![0; (rate / PIECES).max(1)];
    loop {
        let count = from.read(&mut piece).ok()?;
        if count == 0 {
            return to.shutdown(Shutdown::Write).ok();
        }
        to.write_all(&piece[..count]).ok()?;
        // A short answer need not wait as long as a full piece.
        let part = u32::try_from(count * 1000 / piece.len()).unwrap_or(1000);
        thread::sleep(Duration::from_secs(1) / u32::try_from(PIECES).unwrap_or(1) * part / 1000);
    }
}
