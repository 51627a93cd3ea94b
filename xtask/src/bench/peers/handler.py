"""What functions-framework serves in `cargo xtask bench path --peers`: reads the body and answers."""


def handle(request):
    request.get_data()
    return ""
