//! The checksum inside a backup: a changed file is refused before SQLite reads it.
//!
//! The row of `gostream_backup` ends with a mark and 64 hexadecimal digits: the SHA-256 of the file with `0` in place
//! of the digits. The row is written last and is at the end of the file, so the last mark is used; user data may
//! contain others. The checksum detects accidents and edits. It is not a signature: anyone who can write the file can
//! compute it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

const MARK: &[u8] = b"gostream-backup-sha256:";
const DIGITS: usize = 64;
/// Bytes per read.
const BLOCK: usize = 64 * 1024;

/// The value in the row until the file is complete.
pub(super) fn placeholder() -> String {
    String::from_utf8_lossy(MARK).into_owned() + &"0".repeat(DIGITS)
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Changed,
    /// The file is from before checksums, or not a backup.
    NoChecksum,
}

/// Writes the checksum into a file that contains a [`placeholder`].
pub(super) fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let digits = find(&mut file)?.ok_or_else(|| io::Error::other("the checksum mark is missing"))?;
    let sum = sum(&mut file, digits)?;
    file.seek(SeekFrom::Start(digits))?;
    file.write_all(sum.as_bytes())?;
    file.sync_all()
}

/// Compares the file with its checksum.
pub(super) fn verify(path: &Path) -> io::Result<Verdict> {
    let mut file = File::open(path)?;
    let Some(digits) = find(&mut file)? else { return Ok(Verdict::NoChecksum) };
    let mut written = [0; DIGITS];
    file.seek(SeekFrom::Start(digits))?;
    file.read_exact(&mut written)?;
    let same = sum(&mut file, digits)?.as_bytes() == written;
    Ok(if same { Verdict::Same } else { Verdict::Changed })
}

/// Offset of the digits after the last mark.
fn find(file: &mut File) -> io::Result<Option<u64>> {
    let mut found = None;
    each_block(file, |at, block| {
        let last = block.windows(MARK.len() + DIGITS).rposition(|part| part.starts_with(MARK));
        found = last.map(|offset| at + (offset + MARK.len()) as u64).or(found);
        // A mark may span two blocks.
        MARK.len() + DIGITS - 1
    })?;
    Ok(found)
}

/// The SHA-256 of the file, with zeros in place of the digits at `digits`.
fn sum(file: &mut File, digits: u64) -> io::Result<String> {
    let mut hash = Sha256::new();
    each_block(file, |at, block| {
        let zeroed = |(n, byte): (usize, &u8)| {
            let here = at + n as u64;
            if (digits..digits + DIGITS as u64).contains(&here) { b'0' } else { *byte }
        };
        if at < digits + DIGITS as u64 && digits < at + block.len() as u64 {
            hash.update(block.iter().enumerate().map(zeroed).collect::<Vec<_>>());
        } else {
            hash.update(block);
        }
        0
    })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads the file from the start and passes offset and bytes of each block to `look`, which returns how many of the
/// last bytes the next block must repeat.
fn each_block(file: &mut File, mut look: impl FnMut(u64, &[u8]) -> usize) -> io::Result<()> {
    file.rewind()?;
    let (mut at, mut kept) = (0, Vec::new());
    loop {
        let mut block = kept;
        if Read::by_ref(file).take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            return Ok(());
        }
        let keep = look(at, &block).min(block.len());
        at += (block.len() - keep) as u64;
        kept = block.split_off(block.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_changed_byte_is_detected_at_any_mark_position() {
        let folder = tempfile::tempdir().expect("is made");
        let path = folder.path().join("file");
        // Across the border of two blocks, and after a mark in user data.
        for before in [0, 1, BLOCK - 30, BLOCK - 1, 3 * BLOCK] {
            let whole = [MARK, &vec![b'x'; before + 100], placeholder().as_bytes(), b"the end"].concat();
            fs::write(&path, &whole).expect("is written");
            write(&path).expect("is summed");
            assert_eq!(verify(&path).expect("is read"), Verdict::Same, "{before}");
            let summed = fs::read(&path).expect("is read");
            for at in [0, MARK.len() + 1, summed.len() - 1, summed.len() - 10] {
                let mut changed = summed.clone();
                changed[at] ^= 1;
                fs::write(&path, changed).expect("is written");
                assert_eq!(verify(&path).expect("is read"), Verdict::Changed, "byte {at} of {before}");
            }
        }
        fs::write(&path, b"an older backup").expect("is written");
        assert_eq!(verify(&path).expect("is read"), Verdict::NoChecksum);
    }
}
