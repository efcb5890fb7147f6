#ifndef TG_CTOML_H
#define TG_CTOML_H
#endif
