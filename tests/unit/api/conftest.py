from tests.support import sample_api

app, client = sample_api.app, sample_api.client
