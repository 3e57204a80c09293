//! Asks the kernel whether any process has a file open for writing.
//!
//! A read lease (`F_SETLEASE`, fcntl(2)) is granted only while nobody has: no matter whose process it is,
//! in which namespace it lives, and whether it writes through a descriptor or a mapping. Neither std
//! nor rustix nor nix wraps it, so it is wrapped here, apart from the program, which forbids unsafe code.

use std::fs::File;
use std::io;

/// Whether any process has `file` open for writing, or mapped so. The descriptor is for reading only: one that may
/// write counts itself.
///
/// The lease is given back at once, so that nobody who opens the file has to wait for us.
///
/// # Errors
///
/// The kernel does not say: the file system knows no leases (NFS and most of FUSE), the file belongs
/// to another user, or the system is not Linux.
pub fn is_open_for_writing(file: &File) -> io::Result<bool> {
    kernel::is_open_for_writing(file)
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd as _;

    pub(super) fn is_open_for_writing(file: &File) -> io::Result<bool> {
        // Whoever opens the file in the instant that we have the lease makes the kernel send us a
        // signal. Its usual one, SIGIO, ends a process; SIGURG is ignored where nobody asks for it.
        control(file, F_SETSIG, libc::SIGURG)?;
        match control(file, libc::F_SETLEASE, libc::F_RDLCK) {
            Ok(()) => control(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(err) => Err(err),
        }
    }

    #[allow(unsafe_code, reason = "no safe wrapper of F_SETLEASE and F_SETSIG exists")]
    fn control(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and both commands take an
        // int by value: the kernel reads and writes no memory of ours.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// include/uapi/asm-generic/fcntl.h; the libc crate does not have it.
    const F_SETSIG: libc::c_int = 10;
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    pub(super) fn is_open_for_writing(_: &std::fs::File) -> std::io::Result<bool> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test may stop at what it reads")]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_writer_in_this_or_another_process_is_seen_until_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_open_for_writing(&reader).unwrap());
        io::Write::write_all(&mut writer, b"x").unwrap();
        drop(writer);
        let second = File::open(&path).unwrap();
        assert!(!is_open_for_writing(&reader).unwrap());
        drop(second);

        // A shell that has it open until its input ends.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3>>\"$0\"; echo open; read line", &path.to_string_lossy()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut opened = [0; 5];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut opened).unwrap();
        assert!(is_open_for_writing(&reader).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(!is_open_for_writing(&reader).unwrap());
    }

    #[test]
    fn who_opens_the_file_meanwhile_neither_waits_nor_ends_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..2000 {
                    drop(File::options().append(true).open(&path).unwrap());
                }
            });
            let reader = File::open(&path).unwrap();
            while !writer.is_finished() {
                is_open_for_writing(&reader).unwrap();
            }
            is_open_for_writing(&reader).unwrap();
        });
        // A lease that was not given back refuses this.
        let nonblocking = libc::O_NONBLOCK;
        File::options().append(true).custom_flags(nonblocking).open(&path).unwrap();
    }

    #[test]
    fn a_descriptor_that_may_write_counts_itself() {
        assert!(is_open_for_writing(&tempfile::tempfile().unwrap()).unwrap());
    }
}
