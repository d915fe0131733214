//! The outside observer: a process of its own that nothing of Tidegate touches, and that the script leaves alone.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
};

use anyhow::Context as _;
use tokio::{
    net::UnixDatagram,
    signal::unix::{SignalKind, signal},
};

use crate::settings::RecorderSettings;

/// Longer than any record.
const MAX_LINE: usize = 1_024;

/// Appends each datagram as a line, until SIGTERM; then also what had been sent by then. A datagram is in the
/// socket's queue once the worker's `send` has returned, so a worker that is killed afterwards takes none with it.
pub(crate) async fn record(settings: RecorderSettings) -> anyhow::Result<()> {
    // One that died has left its socket behind.
    match std::fs::remove_file(&settings.socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let socket = UnixDatagram::bind(&settings.socket).context("bind the recorder's socket")?;
    let mut file = File::options().create(true).append(true).open(&settings.file)?;
    let mut terminated = signal(SignalKind::terminate())?;
    println!("recording");
    let mut line = [0; MAX_LINE];
    loop {
        let n_read = tokio::select! {
            n_read = socket.recv(&mut line) => n_read?,
            _ = terminated.recv() => break,
        };
        write_line(&mut file, &line[..n_read])?;
    }
    loop {
        match socket.try_recv(&mut line) {
            Ok(n_read) => write_line(&mut file, &line[..n_read])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(file.sync_all()?)
}

fn write_line(file: &mut File, line: &[u8]) -> anyhow::Result<()> {
    // In one write, so that a line is whole or not there.
    file.write_all(&[line, b"\n"].concat()).context("append a record")
}
