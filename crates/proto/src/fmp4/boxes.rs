//! Boxes (ISO 14496-12 section 4.2): a size, a name, and what is inside.

use bytes::BufMut;

/// Writes a box whose content `fill` writes.
pub(super) fn boxed(out: &mut Vec<u8>, name: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(name);
    fill(out);
    // Boxes other than `mdat`, whose header is written separately, are far below 4 GiB: codec headers are at most 16
    // MiB.
    let size = (out.len() - start) as u32;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

/// Writes a box with a version and flags.
pub(super) fn full_box(out: &mut Vec<u8>, name: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, name, |out| {
        out.put_u32(u32::from(version) << 24 | flags);
        fill(out);
    });
}
