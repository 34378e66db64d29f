"""The order of test files: those that take minutes begin first, so that no worker is alone with them at the end."""

LONGEST_FIRST = ("test_prefect_server.py", "test_kill.py", "test_growth.py", "test_gpt_train.py")


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
