//! The border between the network's tasks and blocking work: a stream that is read as a file.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver};

/// How many pieces wait between the two sides; each may have 400 KiB.
const PIECES: usize = 8;

/// Makes a stream readable by blocking code, such as a decompressor on a thread of its own; bounded memory.
///
/// The stream is driven by a task on `runtime`; dropping the reader ends it. An error of the stream
/// becomes the source of an [`io::Error`], again at each further read; the end is only an end when the
/// stream itself ended. Reading from asynchronous code panics, as all blocking of a runtime does.
pub fn read_blocking<S, E>(stream: S, runtime: &Handle) -> impl Read + Send + use<S, E>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    runtime.spawn(async move {
        let mut stream = Box::pin(stream);
        while let Some(item) = stream.next().await {
            if sender.send(item.map(Some)).await.is_err() {
                return;
            }
        }
        // The reader may be gone; then nobody wants to know.
        let _ = sender.send(Ok(None)).await;
    });
    Reader { receiver, piece: Bytes::new(), state: State::Open }
}

struct Reader<E> {
    receiver: Receiver<Result<Option<Bytes>, E>>,
    piece: Bytes,
    state: State,
}

enum State {
    Open,
    Ended,
    Failed(String),
}

impl<E: std::error::Error + Send + Sync + 'static> Read for Reader<E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match &self.state {
                State::Ended => return Ok(0),
                State::Failed(text) => return Err(io::Error::other(text.clone())),
                State::Open => {}
            }
            match self.receiver.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.state = State::Ended,
                Some(Err(error)) => {
                    self.state = State::Failed(error.to_string());
                    return Err(io::Error::other(error));
                }
                None => {
                    self.state = State::Failed("the stream was abandoned".to_owned());
                }
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
