//! As much of Rust's lexical grammar as the rules need: what is code and what is a comment or a literal,
//! and where a function ends. It understands nothing else. The main type is [`Code`].

use std::ops::Range;

/// A file's text in which every comment and the inside of every literal is blank. Lines and columns stay
/// where they were.
pub(crate) struct Code {
    text: Vec<char>,
}

/// An identifier or keyword and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// Of characters, in [`Code`]'s text.
    pub(crate) span: Range<usize>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Of `fn`, from 1.
    pub(crate) line: usize,
    /// From the line of `fn` to that of the closing brace.
    pub(crate) lines: usize,
}

impl Code {
    pub(crate) fn new(source: &str) -> Code {
        let mut text: Vec<char> = source.chars().collect();
        let mut at = 0;
        while at < text.len() {
            let end = skip_end(&text, at);
            match end {
                Some(end) => {
                    for c in &mut text[at..end] {
                        if *c != '\n' {
                            *c = ' ';
                        }
                    }
                    at = end;
                }
                // A whole word at once, so that the r of `for"…"` does not begin a raw string.
                None if is_word(text[at]) => {
                    while at < text.len() && is_word(text[at]) {
                        at += 1;
                    }
                }
                None => at += 1,
            }
        }
        Code { text }
    }

    /// The lines of code, as they stand, blanks included.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.text.split(|c| *c == '\n').map(|line| line.iter().collect()).collect()
    }

    pub(crate) fn words(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let (mut at, mut line) = (0, 1);
        while at < self.text.len() {
            if !is_word(self.text[at]) {
                line += usize::from(self.text[at] == '\n');
                at += 1;
                continue;
            }
            let start = at;
            while at < self.text.len() && is_word(self.text[at]) {
                at += 1;
            }
            if !self.text[start].is_ascii_digit() {
                words.push(Word { text: self.text[start..at].iter().collect(), line, span: start..at });
            }
        }
        words
    }

    /// The first character that is not blank at or after `at`.
    pub(crate) fn next(&self, at: usize) -> Option<char> {
        self.text.get(at..)?.iter().copied().find(|c| !c.is_whitespace())
    }

    /// Every function with a body, those inside other functions too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let words = self.words();
        let named = words.windows(2).filter(|pair| pair[0].text == "fn");
        named
            .filter_map(|pair| {
                let end = self.body_end(pair[1].span.end)?;
                let newlines = self.text[pair[0].span.start..end].iter().filter(|c| **c == '\n').count();
                Some(Function { name: pair[1].text.clone(), line: pair[0].line, lines: newlines + 1 })
            })
            .collect()
    }

    /// Where the body that follows a signature ends; `None` if the signature has none.
    fn body_end(&self, signature: usize) -> Option<usize> {
        let mut nested = 0_u32;
        let mut braces = 0_u32;
        for (at, c) in self.text.iter().enumerate().skip(signature) {
            match c {
                '(' | '[' if braces == 0 => nested += 1,
                ')' | ']' if braces == 0 => nested = nested.saturating_sub(1),
                ';' if braces == 0 && nested == 0 => return None,
                '{' => braces += 1,
                '}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 && nested == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The end of the comment or literal that begins at `at`; `None` if none begins there.
fn skip_end(text: &[char], at: usize) -> Option<usize> {
    let ahead = |n: usize| text.get(at + n).copied();
    match text[at] {
        '/' if ahead(1) == Some('/') => {
            Some((at..text.len()).find(|i| text[*i] == '\n').unwrap_or(text.len()))
        }
        '/' if ahead(1) == Some('*') => Some(block_comment_end(text, at)),
        '"' => Some(quoted_end(text, at, '"')),
        '\'' if ahead(1) == Some('\\') || (ahead(1) != Some('\'') && ahead(2) == Some('\'')) => {
            Some(quoted_end(text, at, '\''))
        }
        'b' | 'c' if ahead(1) == Some('"') => Some(quoted_end(text, at + 1, '"')),
        'b' if ahead(1) == Some('\'') => Some(quoted_end(text, at + 1, '\'')),
        'r' => raw_string_end(text, at + 1),
        'b' | 'c' if ahead(1) == Some('r') => raw_string_end(text, at + 2),
        _ => None,
    }
}

fn block_comment_end(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted_end(text: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Of `#*"…"#*`, where `at` stands after the `r`.
fn raw_string_end(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at.min(text.len())..].iter().take_while(|c| **c == '#').count();
    if text.get(at + hashes) != Some(&'"') {
        return None;
    }
    let body = at + hashes + 1;
    let closes = |i: &usize| {
        text[*i] == '"' && text[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((body..text.len()).find(closes).map_or(text.len(), |i| i + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, words: &[&str]) {
        let got: Vec<_> = Code::new(source).words().into_iter().map(|word| word.text).collect();
        assert_eq!(got, words, "{source}");
    }

    #[test]
    fn comments_and_literals_are_blank() {
        check("a // b \"\nc", &["a", "c"]);
        check("a /* b /* c */ d */ e", &["a", "e"]);
        check(r#"a "b \" c" d"#, &["a", "d"]);
        check(r###"a r#"b " c"# d r"e" f"###, &["a", "d", "f"]);
        check(r##"a b"b" c"c" br#"d"# e"##, &["a", "e"]);
        check(r"a 'b' '\'' '\\' c", &["a", "c"]);
        check(
            "fn a<'b>(c: &'b str, d: &'static str)",
            &["fn", "a", "b", "c", "b", "str", "d", "static", "str"],
        );
        check("a \"unclosed", &["a"]);
        check("r#type x12 12x", &["r", "type", "x12"]);
        check("for\"b\" car\"d\"", &["for", "car"]);
    }

    #[test]
    fn lines_stay() {
        let words = Code::new("a\n/*\n*/ \"\n\" b").words();
        assert_eq!(words[1].line, 4);
    }

    #[test]
    fn functions_are_measured() {
        let source = "fn a() {}\ntrait T {\n fn b(x: [u8; 3]);\n fn c() {\n  if x { \"}\" }\n  fn d() {\n  }\n }\n}\nlet f: fn(u8);";
        let functions: Vec<_> =
            Code::new(source).functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(functions, [("a".into(), 1, 1), ("c".into(), 4, 5), ("d".into(), 6, 2)]);
    }
}
