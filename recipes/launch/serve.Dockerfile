# The service of a run, with torch. From the root of a clone:
#   docker build -f recipes/launch/serve.Dockerfile -t bert-recipes-serve .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/custom:/model:ro" bert-recipes-serve
# For a smaller image without a GPU, have pip take torch from an index of CPU builds: --build-arg PIP_EXTRA_INDEX_URL=…
FROM python:3.13-slim
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY src /source/src
COPY recipes /source/recipes
RUN pip install --no-cache-dir -c /source/constraints.txt '/source[train,serve]' && rm -rf /source
# Nothing is asked of the Hub; what is cached is gone with the container.
ENV HF_HUB_OFFLINE=1 HF_HOME=/tmp/huggingface
USER nobody
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["python", "-m", "bert_recipes.recipes.serve", "--host", "0.0.0.0"]
CMD ["--model", "/model"]
