//! Dumps that `mysql` can load: what `mysqldump` writes of a trigger or an event that was made in one request with other statements.
//!
//! The server then keeps the semicolon behind the definition, and the dump has it inside a comment that it executes: `...; */;;`, a syntax
//! error when it is loaded. A line can end like this in no other way: texts have their line ends escaped, and `;;` ends a statement there.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The ends of a definition with a semicolon too many: of triggers, of events.
const WRONG: [&[u8]; 2] = [b"; */;;\n", b"; */ ;;\n"];
/// Bytes that may be the beginning of one of them.
const HELD_MAX: usize = 7;
/// Bytes read at a time.
const BLOCK: usize = 256 << 10;

/// Copies a dump without such semicolons, and says how many bytes were written. `written` is told as they are.
pub(super) async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    mut written: impl FnMut(u64),
) -> io::Result<u64> {
    let (mut pending, mut block, mut total) = (Vec::with_capacity(2 * BLOCK), vec![0; BLOCK], 0);
    loop {
        let count = from.read(&mut block).await?;
        pending.extend_from_slice(&block[..count]);
        let ready = if count == 0 { pending.len() } else { pending.len().saturating_sub(HELD_MAX) };
        let (mended, used) = mend(&pending, ready);
        to.write_all(&mended).await?;
        total += mended.len() as u64;
        written(total);
        pending.drain(..used);
        if count == 0 {
            to.flush().await?;
            return Ok(total);
        }
    }
}

/// What begins in the first `ready` bytes, mended, and how many bytes that is.
fn mend(bytes: &[u8], ready: usize) -> (Vec<u8>, usize) {
    let (mut mended, mut at) = (Vec::with_capacity(ready), 0);
    while at < ready {
        let plain = bytes[at..ready].iter().position(|byte| *byte == b';').unwrap_or(ready - at);
        mended.extend_from_slice(&bytes[at..at + plain]);
        at += plain;
        if at < ready {
            if !WRONG.iter().any(|wrong| bytes[at..].starts_with(wrong)) {
                mended.push(b';');
            }
            at += 1;
        }
    }
    (mended, at)
}

#[cfg(test)]
mod tests {
    use super::{copy, mend};

    const DUMP: &[u8] =
        b"INSERT INTO `t` VALUES ('a; */;;b');\n/*!50003 CREATE*/ /*!50003 TRIGGER x SET @a = 1; */;;\nDELIMITER ;\n\
        /*!50106 EVENT e DO SET @a = 2; */ ;;\n/*!50003 TRIGGER y SET @a = 3 */;;\n;;\n";
    const MENDED: &[u8] =
        b"INSERT INTO `t` VALUES ('a; */;;b');\n/*!50003 CREATE*/ /*!50003 TRIGGER x SET @a = 1 */;;\nDELIMITER ;\n\
        /*!50106 EVENT e DO SET @a = 2 */ ;;\n/*!50003 TRIGGER y SET @a = 3 */;;\n;;\n";

    #[test]
    fn only_the_semicolon_too_many_goes() {
        assert_eq!(String::from_utf8(mend(DUMP, DUMP.len()).0).unwrap(), String::from_utf8(MENDED.to_vec()).unwrap());
    }

    #[tokio::test]
    async fn wherever_the_blocks_end() {
        for cut in 0..=DUMP.len() {
            let (first, second) = DUMP.split_at(cut);
            let mut out = Vec::new();
            let from = tokio::io::AsyncReadExt::chain(first, second);
            let total = copy(from, &mut out, |_| {}).await.unwrap();
            assert_eq!((out.as_slice(), total), (MENDED, MENDED.len() as u64), "cut at {cut}");
        }
    }
}
