"""The verbs of the command line, one a file: `vqvae2 VERB --flags`.

A verb's module opens with its usage, and has `main(arguments)`.
"""

import os
import tempfile

# TensorFlow reads these when it is imported. Its oneDNN kernels make a training
# step on CPUs where they are not the default 1.6 times as fast. Its graph
# optimizer logs each rewrite that it gives up as an error; true errors are
# raised.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras prefers this to the backend that a user's keras.json names.
os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
if os.path.expanduser("~").startswith("~"):
    # Without a home folder Keras would make one named ~ here.
    os.environ.setdefault("KERAS_HOME", tempfile.gettempdir())
