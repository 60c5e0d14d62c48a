"""What the tests share."""

import pytest

pytest.register_assert_rewrite("helpers.browser", "helpers.windows")
