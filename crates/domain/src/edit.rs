//! [`Editor`]: changes to a text as byte ranges, found through its XML tree. Bytes that no edit names stay as they are.
//! It never parses and never knows what an element means.

use std::ops::Range;

use crate::reader::{Node, qname};

/// An element to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: Option<String>,
    children: Vec<Element>,
}

impl Element {
    pub(crate) fn new(name: &'static str) -> Element {
        Element { name, ..Element::default() }
    }

    pub(crate) fn attribute(mut self, name: &'static str, value: impl Into<String>) -> Element {
        self.attributes.push((name, value.into()));
        self
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Element {
        self.text = Some(text.into());
        self
    }

    pub(crate) fn child(mut self, child: Element) -> Element {
        self.children.push(child);
        self
    }

    /// The element as a text of its own.
    pub(crate) fn document(&self) -> String {
        let layout = Layout { newline: "\n", indent: String::new(), unit: "  ".to_owned() };
        let mut out = String::new();
        self.write(&mut out, &layout, 0);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, layout: &Layout, depth: usize) {
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            out.push_str(&format!(" {name}='{}'", escape_attribute(value)));
        }
        if self.text.is_none() && self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        out.push_str(&escape_text(self.text.as_deref().unwrap_or("")));
        for child in &self.children {
            layout.break_line(out, depth + 1);
            child.write(out, layout, depth + 1);
        }
        if !self.children.is_empty() {
            layout.break_line(out, depth);
        }
        out.push_str(&format!("</{}>", self.name));
    }
}

/// How lines around an insertion begin and end.
struct Layout {
    /// Empty where the text puts elements on one line.
    newline: &'static str,
    indent: String,
    unit: String,
}

impl Layout {
    fn break_line(&self, out: &mut String, depth: usize) {
        if self.newline.is_empty() {
            return;
        }
        out.push_str(self.newline);
        out.push_str(&self.indent);
        for _ in 0..depth {
            out.push_str(&self.unit);
        }
    }
}

struct Edit {
    range: Range<usize>,
    text: String,
}

/// Collects edits of one text.
pub(crate) struct Editor<'a> {
    text: &'a str,
    edits: Vec<Edit>,
}

impl<'a> Editor<'a> {
    pub(crate) fn new(text: &'a str) -> Editor<'a> {
        Editor { text, edits: Vec::new() }
    }

    /// The text with all edits.
    pub(crate) fn finish(mut self) -> String {
        // Stable: what is inserted at one place stays in the order in which it was asked for, before what is
        // replaced from there on.
        self.edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let mut result = String::with_capacity(self.text.len() + 64 * self.edits.len());
        let mut position = 0;
        for edit in &self.edits {
            assert!(edit.range.start >= position, "edits never overlap");
            result.push_str(&self.text[position..edit.range.start]);
            result.push_str(&edit.text);
            position = edit.range.end;
        }
        result.push_str(&self.text[position..]);
        result
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.edits.push(Edit { range, text });
    }

    /// Gives an attribute a value; its quotes stay.
    pub(crate) fn set_attribute(&mut self, node: Node<'a>, name: &str, value: &str) {
        if let Some(attribute) = node.attribute_node(name) {
            self.replace(attribute.range_value(), escape_attribute(value));
            return;
        }
        let after = match node.attributes().next_back() {
            Some(last) => last.range().end,
            None => node.range().start + 1 + qname(node).len(),
        };
        self.replace(after..after, format!(" {name}='{}'", escape_attribute(value)));
    }

    /// Takes an attribute away, with the white space before it.
    pub(crate) fn remove_attribute(&mut self, node: Node<'a>, name: &str) {
        if let Some(attribute) = node.attribute_node(name) {
            let range = attribute.range();
            let start = self.text[..range.start].trim_end().len();
            self.replace(start..range.end, String::new());
        }
    }

    /// Puts a text in place of all that is inside an element.
    pub(crate) fn set_text(&mut self, node: Node<'a>, text: &str) {
        match self.content(node) {
            Some(content) => self.replace(content, escape_text(text)),
            None => {
                let close = self.start_tag_end(node);
                self.replace(close - 2..close, format!(">{}</{}>", escape_text(text), qname(node)));
            }
        }
    }

    /// Takes an element away, with its line where it has one of its own.
    pub(crate) fn remove(&mut self, node: Node<'a>) {
        let range = node.range();
        let line = self.text[..range.start].trim_end_matches([' ', '\t']).len();
        let rest = &self.text[range.end..];
        let alone = rest.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']);
        match self.text[..line].strip_suffix('\n') {
            Some(before) if alone => {
                let start = before.strip_suffix('\r').unwrap_or(before).len();
                self.replace(start..range.end, String::new());
            }
            Some(_) | None => self.replace(range, String::new()),
        }
    }

    /// Inserts elements as the first children.
    pub(crate) fn prepend(&mut self, parent: Node<'a>, elements: &[Element]) {
        if parent.first_element_child().is_none() {
            self.append(parent, elements);
            return;
        }
        let layout = self.child_layout(parent);
        let at = self.start_tag_end(parent);
        self.replace(at..at, render(elements, &layout));
    }

    /// Inserts elements after an element.
    pub(crate) fn insert_after(&mut self, sibling: Node<'a>, elements: &[Element]) {
        let layout = match sibling.parent_element() {
            Some(parent) => self.child_layout(parent),
            None => return,
        };
        let at = sibling.range().end;
        self.replace(at..at, render(elements, &layout));
    }

    /// Inserts an element as it is written elsewhere after an element; where it will begin, if nothing before it is
    /// edited.
    pub(crate) fn insert_text_after(&mut self, sibling: Node<'a>, text: &str) -> usize {
        let layout = sibling.parent_element().map(|parent| self.child_layout(parent));
        let mut inserted = String::new();
        if let Some(layout) = layout {
            layout.break_line(&mut inserted, 0);
        }
        let at = sibling.range().end;
        let begin = at + inserted.len();
        inserted.push_str(text);
        self.replace(at..at, inserted);
        begin
    }

    /// Inserts elements as the last children. At most once for an element.
    pub(crate) fn append(&mut self, parent: Node<'a>, elements: &[Element]) {
        if elements.is_empty() {
            return;
        }
        let layout = self.child_layout(parent);
        let mut inserted = render(elements, &layout);
        let own_line = |out: &mut String| {
            if !layout.newline.is_empty() {
                out.push_str(layout.newline);
                out.push_str(self.indent(parent).unwrap_or(""));
            }
        };
        let Some(content) = self.content(parent) else {
            let close = self.start_tag_end(parent);
            own_line(&mut inserted);
            self.replace(close - 2..close, format!(">{inserted}</{}>", qname(parent)));
            return;
        };
        let inside = &self.text[content.clone()];
        let at = match parent.last_element_child() {
            Some(last) => last.range().end,
            None => content.start + inside.trim_end().len(),
        };
        if !self.text[at..content.end].contains('\n') {
            own_line(&mut inserted);
        }
        self.replace(at..at, inserted);
    }

    /// Where the start tag ends, after its `>`.
    fn start_tag_end(&self, node: Node<'a>) -> usize {
        let range = node.range();
        let mut quote = None;
        for (offset, byte) in self.text[range.clone()].bytes().enumerate() {
            match (quote, byte) {
                (None, b'\'' | b'"') => quote = Some(byte),
                (Some(open), _) if open == byte => quote = None,
                (None, b'>') => return range.start + offset + 1,
                _ => {}
            }
        }
        range.end
    }

    /// What is between the tags; none for `<a/>`.
    fn content(&self, node: Node<'a>) -> Option<Range<usize>> {
        let start = self.start_tag_end(node);
        if self.text[..start].ends_with("/>") && start == node.range().end {
            return None;
        }
        let end = self.text[..node.range().end].rfind("</")?;
        Some(start..end)
    }

    /// The white space before an element that begins its line.
    fn indent(&self, node: Node<'a>) -> Option<&'a str> {
        let before = &self.text[..node.range().start];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        let indent = &before[line..];
        indent.bytes().all(|byte| byte == b' ' || byte == b'\t').then_some(indent)
    }

    /// How children of an element are laid out: as its first child that begins a line, or one step further in.
    fn child_layout(&self, parent: Node<'a>) -> Layout {
        let own = self.indent(parent);
        let outer = parent.parent_element().and_then(|outer| self.indent(outer));
        let unit = match (own, outer) {
            (Some(own), Some(outer)) => {
                own.strip_prefix(outer).filter(|unit| !unit.is_empty()).unwrap_or("  ")
            }
            _ => "  ",
        };
        let children = parent.children().filter(|child| child.is_element());
        let neighbour =
            children.filter(|child| self.begins_line(*child)).find_map(|child| self.indent(child));
        let has_lines = self.text[parent.document().root_element().range()].contains('\n');
        let newline = match (has_lines, own.is_some() || neighbour.is_some()) {
            (true, true) if self.text.contains("\r\n") => "\r\n",
            (true, true) => "\n",
            (true | false, _) => "",
        };
        let indent = match neighbour {
            Some(indent) => indent.to_owned(),
            None => format!("{}{unit}", own.unwrap_or("")),
        };
        Layout { newline, indent, unit: unit.to_owned() }
    }

    fn begins_line(&self, node: Node<'a>) -> bool {
        self.indent(node).is_some() && self.text[..node.range().start].contains('\n')
    }
}

fn render(elements: &[Element], layout: &Layout) -> String {
    let mut out = String::new();
    for element in elements {
        layout.break_line(&mut out, 0);
        element.write(&mut out, layout, 0);
    }
    out
}

fn escape_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
}

fn escape_attribute(value: &str) -> String {
    let value = escape_text(value).replace('\'', "&apos;").replace('"', "&quot;");
    value.replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, edit: impl for<'a> FnOnce(&mut Editor<'a>, Node<'a>), after: &str) {
        let document = roxmltree::Document::parse(before).expect("it is XML");
        let mut editor = Editor::new(document.input_text());
        let node = document.descendants().find(|node| node.has_tag_name("here")).expect("it is there");
        edit(&mut editor, node);
        assert_eq!(editor.finish(), after);
    }

    fn new() -> [Element; 1] {
        [Element::new("new").attribute("a", "<'>")]
    }

    #[test]
    fn attributes_come_before_content_whatever_the_order_of_the_edits() {
        check(
            "<here/>",
            |editor, here| {
                editor.append(here, &new());
                editor.set_attribute(here, "b", "1");
                editor.set_attribute(here, "c", "2");
            },
            "<here b='1' c='2'><new a='&lt;&apos;&gt;'/></here>",
        );
    }

    #[test]
    fn a_closing_bracket_in_a_value_does_not_end_the_tag() {
        check(
            "<here x='>' y = \"'/>\" ><!-- > --></here >",
            |editor, here| editor.append(here, &[Element::new("new")]),
            "<here x='>' y = \"'/>\" ><!-- > --><new/></here >",
        );
    }

    #[test]
    fn content_is_indented_as_its_neighbours_are() {
        check(
            "<a>\n\t<here>\n\t\t\t<b/> <!-- of b -->\n\t</here>\n</a>",
            |editor, here| editor.append(here, &[Element::new("c").child(Element::new("d"))]),
            "<a>\n\t<here>\n\t\t\t<b/>\n\t\t\t<c>\n\t\t\t\t<d/>\n\t\t\t</c> <!-- of b -->\n\t</here>\n</a>",
        );
        check(
            "<a>\n <here><b/></here>\n</a>",
            |editor, here| editor.append(here, &[Element::new("c")]),
            "<a>\n <here><b/>\n  <c/>\n </here>\n</a>",
        );
    }

    #[test]
    fn an_element_goes_with_its_line() {
        check("<a>\n  <here/> \n  <b/>\n</a>", |editor, here| editor.remove(here), "<a> \n  <b/>\n</a>");
        check("<a>\r\n  <here/>\r\n</a>", |editor, here| editor.remove(here), "<a>\r\n</a>");
        check("<a> <here>x</here> <b/></a>", |editor, here| editor.remove(here), "<a>  <b/></a>");
    }

    #[test]
    fn a_text_is_escaped() {
        check("<here/>", |editor, here| editor.set_text(here, "a<b>&"), "<here>a&lt;b&gt;&amp;</here>");
        check("<here>x<!--y--></here>", |editor, here| editor.set_text(here, ""), "<here></here>");
    }
}
