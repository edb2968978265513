"""`python -m tests.docs`, which is `make docs`: write the generated pages anew."""

from tests.docs.layouts_page import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
