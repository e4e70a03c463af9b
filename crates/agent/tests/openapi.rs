//! The OpenAPI document, whole: what changes here changes for everyone who uses the API.

#[test]
fn the_document_is_as_it_was() {
    insta::assert_json_snapshot!("openapi", agent::openapi());
}
