//! A word and the value of a variable: text or an error, no panic; without a dollar sign variables do not matter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yadokari::dockerfile::expand::Expander;

fuzz_target!(|input: (&str, &str, bool)| {
    let (word, value, is_backtick) = input;
    let escape = if is_backtick { '`' } else { '\\' };
    let set = |name: &str| (name.len() % 2 == 1).then(|| value.to_owned());
    let unset = |_: &str| None;
    let expanded = Expander::new(escape, &set).word(word);
    let _ = Expander::new(escape, &set).words(word);
    let _ = Expander::for_heredoc(&set).word(word);
    if !word.contains('$') {
        let without = Expander::new(escape, &unset).word(word);
        assert_eq!(expanded.map(|expanded| expanded.text), without.map(|expanded| expanded.text));
    }
    let skipping = Expander { skip_unset: true, raw_quotes: true, raw_escapes: true, ..Expander::new(escape, &unset) };
    let _ = skipping.word(word);
});
