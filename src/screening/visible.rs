//! Which characters a reader of a name can see.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup},
};

/// A symbol (So) that looks like a space.
const BRAILLE_PATTERN_BLANK: char = '\u{2800}';

/// What a name may be made of; anything else alone looks like nothing.
const VISIBLE: GeneralCategoryGroup = GeneralCategoryGroup::Letter
    .union(GeneralCategoryGroup::Mark)
    .union(GeneralCategoryGroup::Number)
    .union(GeneralCategoryGroup::Punctuation)
    .union(GeneralCategoryGroup::Symbol);

/// Whether a text has a character that can be seen: a letter, mark, number, punctuation or symbol that is not ignored
/// by default when text is shown (Unicode: General_Category, Default_Ignorable_Code_Point).
pub(super) fn has_visible_character(text: &str) -> bool {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    text.chars().any(|letter| {
        VISIBLE.contains(categories.get(letter))
            && !ignorable.contains(letter)
            && letter != BRAILLE_PATTERN_BLANK
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_all_scripts_are_visible() {
        for name in [
            "A",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{d28}\u{d28}\u{d4d}\u{200d}",
            "\u{200f}\u{645}\u{62d}\u{645}\u{62f}\u{200e}",
            "\u{e2a}\u{e21}\u{e0a}\u{e32}\u{e22}",
            "\u{738b}\u{5c0f}\u{660e}",
            "\u{ae40}\u{bbfc}\u{c900}",
            "\u{1112}\u{1161}\u{11ab}",
            "\u{13e3}\u{13b3}\u{13a9}",
            "\u{ab70}",
            "\u{301}",
            "7",
            "-",
            "\u{20ac}",
            "\u{1f600}",
            "\u{2801}",
        ] {
            assert!(has_visible_character(name), "{}", name.escape_unicode());
        }
    }

    #[test]
    fn what_looks_like_nothing_is_not() {
        for nothing in [
            "",
            " ",
            "\0",
            "\t\n",
            "\u{a0}",
            "\u{ad}",
            "\u{34f}",
            "\u{61c}",
            "\u{115f}",
            "\u{1160}",
            "\u{17b4}",
            "\u{180b}",
            "\u{180e}",
            "\u{200b}",
            "\u{200c}\u{200d}",
            "\u{200e}\u{200f}",
            "\u{2028}",
            "\u{2060}",
            "\u{2066}\u{2069}",
            "\u{2800}",
            "\u{3000}",
            "\u{3164}",
            "\u{fe0f}",
            "\u{feff}",
            "\u{ffa0}",
            "\u{e000}",
            "\u{e0100}",
            "\u{378}",
            " \u{3164}\u{2800}\u{200b} ",
        ] {
            assert!(
                !has_visible_character(nothing),
                "{}",
                nothing.escape_unicode()
            );
        }
    }
}
