# The service of a run, with torch. From the root of a clone:
#   docker build -f recipes/launch/serve.Dockerfile -t bert-recipes-serve .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/custom:/model:ro" bert-recipes-serve
# For a smaller image without a GPU, have pip take torch from an index of CPU builds: --build-arg PIP_EXTRA_INDEX_URL=…
FROM python:3.13-slim
ARG PIP_EXTRA_INDEX_URL
WORKDIR /source
# The packages are a layer of their own, which stays as it is when the code of the project changes.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    extras = project['optional-dependencies']; \
    print(*project['dependencies'], *extras['train'], *extras['serve'], sep='\n')" >requirements.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY src src
COPY recipes recipes
RUN pip install --no-cache-dir --no-deps . && rm -rf build src/*.egg-info
WORKDIR /
# Nothing is asked of the Hub; what is cached is gone with the container.
ENV HF_HUB_OFFLINE=1 HF_HOME=/tmp/huggingface
# nobody, by its number: Kubernetes' runAsNonRoot cannot check a name.
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["python", "-m", "bert_recipes.recipes.serve", "--host", "0.0.0.0"]
CMD ["--model", "/model"]
