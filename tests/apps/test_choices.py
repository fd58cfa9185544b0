"""A choice that another run or result left: the default holds, and browser and URL are told."""

from streamlit.testing.v1 import AppTest


def _page() -> None:
    import streamlit as st

    from apps.choices import segments, select

    options = st.session_state.get("options", ["a", "b"])
    select("Units of", options, options[0], "hook")
    segments("Side", options, "side")


def test_a_choice_that_is_not_offered_any_more_is_set_back_where_it_is_seen() -> None:
    app = AppTest.from_function(_page)
    app.query_params |= {"hook": "b", "side": "b"}
    app.run()
    assert (app.selectbox(key="hook").value, app.segmented_control(key="side").value) == ("b", "b")
    app.session_state["options"] = ["c", "d"]
    app.run()
    for choice in (app.selectbox(key="hook"), app.segmented_control(key="side")):
        assert choice.value == "c"
        assert choice.proto.set_value, "of what is not set the browser hears nothing"
    assert not {"hook", "side"} & set(app.query_params)


def test_a_choice_that_is_offered_still_stays() -> None:
    app = AppTest.from_function(_page)
    app.query_params |= {"hook": "b"}
    app.run()
    app.session_state["options"] = ["a", "c", "b"]
    app.run()
    assert app.selectbox(key="hook").value == "b"
    assert app.query_params["hook"] == "b"
