//! Which word was probably meant.

/// The one of `words` that `word` is probably a misspelling of, if any is near.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('_', "-");
    let word = plain(word);
    let distance = |other: &str| strsim::damerau_levenshtein(&word, &plain(other));
    let (distance, nearest) = words.iter().map(|other| (distance(other), *other)).min()?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(nearest)
}
