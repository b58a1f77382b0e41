//! Values of several fields, as Dockerfile flags and BuildKit's command line write them.

/// A line that cannot be split into fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot split {line:?} into fields: {what}")]
pub struct CsvError {
    /// The line.
    pub line: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Splits one CSV line at its commas; a field may stand in double quotes, in which `""` is a quote.
///
/// # Errors
/// [`CsvError`] for an empty line, and where quotes stand wrong.
pub fn csv(line: &str) -> Result<Vec<String>, CsvError> {
    let error = |what| CsvError { line: line.to_owned(), what };
    let mut fields = Vec::new();
    let mut rest = line;
    if line.is_empty() {
        return Err(error("it is empty"));
    }
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if field.contains('"') {
                return Err(error("bare \" in a field that is not quoted"));
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        rest = quoted;
        loop {
            let (text, after) = rest.split_once('"').ok_or_else(|| error("missing closing \""))?;
            field.push_str(text);
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    rest = after;
                }
                None => {
                    rest = after;
                    break;
                }
            }
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(error("text behind a closing \"")),
        }
    }
}
