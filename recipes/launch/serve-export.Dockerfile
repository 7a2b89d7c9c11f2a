# The service of an export, without torch. From the root of a clone:
#   docker build -f recipes/launch/serve-export.Dockerfile -t bert-recipes-export .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/custom/export:/model:ro" bert-recipes-export
FROM python:3.13-slim
COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY src /source/src
COPY recipes /source/recipes
RUN pip install --no-cache-dir -c /source/constraints.txt '/source[runtime,serve]' && rm -rf /source
USER nobody
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["python", "-m", "bert_recipes.recipes.serve", "--host", "0.0.0.0"]
CMD ["--model", "/model"]
