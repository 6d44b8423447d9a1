//! Python sources: any bytes are scanned, in bounded time and space, and two looks find the same.

/// Texts that one expression may be; each mention is looked at in two ways.
const VALUES_MAX: usize = 2 * 64;

/// The input is a source.
pub fn scanner(bytes: &[u8]) {
    let (scan, texts) = rgrid_cli::fuzzing::scanned(bytes);
    // Deeper nesting than JSON takes is not remembered.
    if let Ok(scan) = serde_json::from_slice::<serde_json::Value>(&scan) {
        let mentions = scan["mentions"].as_array().map_or(0, Vec::len);
        assert!(texts.len() <= mentions * VALUES_MAX);
    }
    assert_eq!(rgrid_cli::fuzzing::scanned(bytes), (scan, texts));
}
