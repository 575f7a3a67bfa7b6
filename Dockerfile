# One image for all seven services; the command chooses: python -m services.NAME
FROM node:20-bookworm-slim AS dashboard
WORKDIR /dashboard
COPY dashboard/package.json dashboard/package-lock.json dashboard/.npmrc ./
RUN npm ci
COPY dashboard/ ./
RUN npm run build

FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /sextant
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml ./
COPY libs ./libs
COPY services ./services
COPY demo ./demo
COPY catalog ./catalog
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
COPY --from=dashboard /dashboard/dist ./dashboard/dist
RUN useradd --uid 10001 --no-create-home sextant
USER 10001
CMD ["python", "-m", "services.gateway"]
