//! A tar archive of small files in memory: POSIX ustar, as every tar reads it.

/// Bytes of a block, and of a header.
const BLOCK: usize = 512;

/// Files one after the other. Names are at most 100 bytes of ASCII; longer ones are cut.
#[derive(Debug, Default)]
pub struct Tarball {
    bytes: Vec<u8>,
}

impl Tarball {
    /// Adds a file with a time in seconds since 1970.
    pub fn add(&mut self, name: &str, content: &[u8], at_seconds: u64) {
        let mut header = [0u8; BLOCK];
        let mut put = |at: usize, text: &str| {
            for (place, byte) in header.iter_mut().skip(at).zip(text.bytes()) {
                *place = byte;
            }
        };
        put(0, &name.chars().filter(char::is_ascii).take(100).collect::<String>());
        put(100, "0000600\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", content.len()));
        put(136, &format!("{at_seconds:011o}\0"));
        // The sum is made with blanks in its own place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        for (place, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
            *place = byte;
        }
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    /// The archive with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_it() {
        let mut tarball = Tarball::default();
        tarball.add("a/one.txt", b"one\n", 1_700_000_000);
        tarball.add("a/two.txt", &vec![b'2'; 1000], 1_700_000_000);
        tarball.add("a/empty", b"", 0);
        let bytes = tarball.finish();
        assert_eq!(bytes.len() % BLOCK, 0);
        let Ok(mut tar) = Command::new("tar")
            .args(["-x", "-O", "-f", "-", "a/two.txt"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            panic!("there is no tar on this machine to read it with");
        };
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = tar.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, vec![b'2'; 1000]);
    }
}
